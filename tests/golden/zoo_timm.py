"""The two networks of the zoo that torchvision lacks, in PyTorch, for make_zoo.py to compare with: Xception (Chollet
2017) and NASNet-A (4 @ 1056), "mobile" (Zoph et al. 2018). Names and shapes of the parameters are timm's, whose
weights people have. Needs torch alone.

Where NASNet halves the plane it pads as TensorFlow does, in which it was trained: ceil(n/2) outputs, and an odd number
of zeros has the larger half below and to the right. Poolings count no padding.
"""
import torch
from torch import nn
from torch.nn import functional as F


def named(**children):
    """A Sequential whose children have names."""
    seq = nn.Sequential()
    for name, child in children.items():
        seq.add_module(name, child)
    return seq


# ---- Xception ------------------------------------------------------------------------------------------------------

class Separable(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cin, 3, padding=1, groups=cin, bias=False)
        self.pointwise = nn.Conv2d(cin, cout, 1, bias=False)

    def forward(self, x):
        return self.pointwise(self.conv1(x))


class Block(nn.Module):
    """widths: channels after each separable convolution. A block that halves the plane ends in a max pooling."""

    def __init__(self, cin, widths, stride, relu_first=True):
        super().__init__()
        self.changes = stride > 1 or widths[-1] != cin
        if self.changes:
            self.skip = nn.Conv2d(cin, widths[-1], 1, stride, bias=False)
            self.skipbn = nn.BatchNorm2d(widths[-1])
        steps = []
        for a, b in zip([cin] + widths, widths):
            steps += [nn.ReLU(), Separable(a, b), nn.BatchNorm2d(b)]
        if not relu_first:
            del steps[0]
        if stride > 1:
            steps.append(nn.MaxPool2d(3, stride, padding=1))
        self.rep = nn.Sequential(*steps)

    def forward(self, x):
        return self.rep(x) + (self.skipbn(self.skip(x)) if self.changes else x)


class Xception(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32)
        self.conv2, self.bn2 = nn.Conv2d(32, 64, 3, bias=False), nn.BatchNorm2d(64)
        self.block1 = Block(64, [128, 128], 2, relu_first=False)
        self.block2 = Block(128, [256, 256], 2)
        self.block3 = Block(256, [728, 728], 2)
        for i in range(4, 12):
            setattr(self, f"block{i}", Block(728, [728, 728, 728], 1))
        self.block12 = Block(728, [728, 1024], 2)
        self.conv3, self.bn3 = Separable(1024, 1536), nn.BatchNorm2d(1536)
        self.conv4, self.bn4 = Separable(1536, 2048), nn.BatchNorm2d(2048)
        self.fc = nn.Linear(2048, num_classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        for i in range(1, 13):
            x = getattr(self, f"block{i}")(x)
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(x)))
        return self.fc(x.mean((2, 3)))


# ---- NASNet --------------------------------------------------------------------------------------------------------

def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


def same(n, kernel, stride):
    """Zeros before and after n elements, so that ceil(n/stride) windows fit."""
    zeros = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    return zeros // 2, zeros - zeros // 2


def frame(x, kernel, stride, value=0.0):
    top, bottom = same(x.shape[2], kernel, stride)
    left, right = same(x.shape[3], kernel, stride)
    return F.pad(x, (left, right, top, bottom), value=value)


class MaxPool(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        return F.max_pool2d(frame(x, 3, self.stride, float("-inf")), 3, self.stride)


class AvgPool(nn.Module):
    """The mean over the part of each window that is inside: sums over sums of ones."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x):
        inside = F.avg_pool2d(frame(torch.ones_like(x[:1, :1]), 3, self.stride), 3, self.stride)
        return F.avg_pool2d(frame(x, 3, self.stride), 3, self.stride) / inside


class Depthwise(nn.Module):
    def __init__(self, cin, cout, kernel, stride):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.depthwise_conv2d = nn.Conv2d(cin, cin, kernel, stride, groups=cin, bias=False)
        self.pointwise_conv2d = nn.Conv2d(cin, cout, 1, bias=False)

    def forward(self, x):
        return self.pointwise_conv2d(self.depthwise_conv2d(frame(x, self.kernel, self.stride)))


class Branch(nn.Module):
    """Two separable convolutions; the first takes the stride and keeps the channels, or, in the stem, changes them."""

    def __init__(self, cin, cout, kernel, stride=1, stem=False):
        super().__init__()
        middle = cout if stem else cin
        self.separable_1, self.bn_sep_1 = Depthwise(cin, middle, kernel, stride), norm(middle)
        self.separable_2, self.bn_sep_2 = Depthwise(middle, cout, kernel, 1), norm(cout)

    def forward(self, x):
        x = self.bn_sep_1(self.separable_1(F.relu(x)))
        return self.bn_sep_2(self.separable_2(F.relu(x)))


def squeeze(cin, cout):
    return named(relu=nn.ReLU(), conv=nn.Conv2d(cin, cout, 1, bias=False), bn=norm(cout))


class Halver(nn.Module):
    """Base of cells that take the output before last at twice their size: every second element, by two paths that
    are one element apart."""

    def add_paths(self, cin, cout):
        self.path_1 = named(conv=nn.Conv2d(cin, cout, 1, bias=False))
        self.path_2 = named(conv=nn.Conv2d(cin, cout, 1, bias=False))
        self.final_path_bn = norm(2 * cout)

    def halve(self, x):
        x = F.relu(x)
        near = self.path_1(x[:, :, ::2, ::2])
        far = self.path_2(F.pad(x, (0, 1, 0, 1))[:, :, 1::2, 1::2])
        return self.final_path_bn(torch.cat([near, far], 1))


class Reduction(Halver):
    """Halves the plane. a and b: what the cell makes of its input and of the output before; c, d: those channels, and
    what each branch has. In the first stem cell b is the input itself."""

    def add_branches(self, d, b=None):
        b, stem = b or d, b is not None
        self.comb_iter_0_left, self.comb_iter_0_right = Branch(d, d, 5, 2), Branch(b, d, 7, 2, stem)
        self.comb_iter_1_left, self.comb_iter_1_right = MaxPool(2), Branch(b, d, 7, 2, stem)
        self.comb_iter_2_left, self.comb_iter_2_right = AvgPool(2), Branch(b, d, 5, 2, stem)
        self.comb_iter_3_right = AvgPool(1)
        self.comb_iter_4_left, self.comb_iter_4_right = Branch(d, d, 3), MaxPool(2)

    def combine(self, a, b):
        y0 = self.comb_iter_0_left(a) + self.comb_iter_0_right(b)
        y1 = self.comb_iter_1_left(a) + self.comb_iter_1_right(b)
        y2 = self.comb_iter_2_left(a) + self.comb_iter_2_right(b)
        y3 = self.comb_iter_3_right(y0) + y1
        y4 = self.comb_iter_4_left(y0) + self.comb_iter_4_right(a)
        return torch.cat([y1, y2, y3, y4], 1)


class Stem0(Reduction):
    def __init__(self, cin, d):
        super().__init__()
        self.conv_1x1 = squeeze(cin, d)
        self.add_branches(d, cin)

    def forward(self, x):
        return self.combine(self.conv_1x1(x), x)


class Stem1(Reduction):
    def __init__(self, cin, d):
        super().__init__()
        self.conv_1x1 = squeeze(2 * d, d)
        self.add_paths(cin, d // 2)
        self.add_branches(d)

    def forward(self, x, before):
        return self.combine(self.conv_1x1(x), self.halve(before))


class ReductionCell(Reduction):
    def __init__(self, before, cin, d):
        super().__init__()
        self.conv_prev_1x1, self.conv_1x1 = squeeze(before, d), squeeze(cin, d)
        self.add_branches(d)

    def forward(self, x, before):
        before = self.conv_prev_1x1(before)
        return self.combine(self.conv_1x1(x), before)


class Cell(Halver):
    """A normal cell of d channels a branch; `halves`: the output before is twice as large."""

    def __init__(self, before, cin, d, halves=False):
        super().__init__()
        self.halves = halves
        if halves:
            self.conv_1x1 = squeeze(cin, d)
            self.add_paths(before, d // 2)
        else:
            self.conv_prev_1x1, self.conv_1x1 = squeeze(before, d), squeeze(cin, d)
        self.comb_iter_0_left, self.comb_iter_0_right = Branch(d, d, 5), Branch(d, d, 3)
        self.comb_iter_1_left, self.comb_iter_1_right = Branch(d, d, 5), Branch(d, d, 3)
        self.comb_iter_2_left = AvgPool(1)
        self.comb_iter_3_left, self.comb_iter_3_right = AvgPool(1), AvgPool(1)
        self.comb_iter_4_left = Branch(d, d, 3)

    def forward(self, x, before):
        b = self.halve(before) if self.halves else self.conv_prev_1x1(before)
        a = self.conv_1x1(x)
        y0 = self.comb_iter_0_left(a) + self.comb_iter_0_right(b)
        y1 = self.comb_iter_1_left(b) + self.comb_iter_1_right(b)
        y2 = self.comb_iter_2_left(a) + b
        y3 = self.comb_iter_3_left(b) + self.comb_iter_3_right(b)
        y4 = self.comb_iter_4_left(a) + a
        return torch.cat([b, y0, y1, y2, y3, y4], 1)


class NASNet(nn.Module):
    def __init__(self, num_classes, stem=32, penultimate=1056):
        super().__init__()
        f = penultimate // 24
        self.conv0 = named(conv=nn.Conv2d(3, stem, 3, 2, bias=False), bn=norm(stem))
        self.cell_stem_0, self.cell_stem_1 = Stem0(stem, f // 4), Stem1(stem, f // 2)
        self.order = ["cell_stem_1"]
        before, cin = f, 2 * f
        for stage in range(3):
            d = f << stage
            if stage > 0:
                self.add(f"reduction_cell_{stage - 1}", ReductionCell(before, cin, d))
                before, cin = cin, 4 * d
            for i in range(4):
                self.add(f"cell_{6 * stage + i}", Cell(before, cin, d, halves=i == 0))
                before, cin = cin, 6 * d
        self.dropout = nn.Dropout()
        self.last_linear = nn.Linear(penultimate, num_classes)

    def add(self, name, cell):
        setattr(self, name, cell)
        self.order.append(name)

    def forward(self, x):
        before = self.conv0(x)
        x = self.cell_stem_0(before)
        for name in self.order:
            before, x = x, getattr(self, name)(x, before)
        return self.last_linear(self.dropout(F.relu(x).mean((2, 3))))


def xception(num_classes=1000):
    return Xception(num_classes)


def nasnetmobile(num_classes=1000):
    return NASNet(num_classes)
