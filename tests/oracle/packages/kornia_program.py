"""Filters, colours, geometry and losses of Kornia."""

import kornia
import torch

torch.manual_seed(0)
x = torch.rand(2, 3, 16, 16)
print(kornia.filters.gaussian_blur2d(x, (3, 3), (1.0, 1.0)).sum(), kornia.filters.sobel(x).mean())
print(kornia.color.rgb_to_hsv(x).mean(), kornia.color.rgb_to_lab(x).mean())
print(kornia.geometry.rotate(x, torch.tensor([30.0, 45.0])).mean())
print(kornia.geometry.resize(x, (8, 8)).mean(), kornia.filters.canny(x)[0].mean())
rotation = kornia.geometry.get_rotation_matrix2d(
    torch.tensor([[8.0, 8.0]]), torch.tensor([20.0]), torch.ones(1, 2)
)
print(rotation, kornia.geometry.warp_affine(x[:1], rotation, (16, 16)).mean())
print(kornia.losses.ssim_loss(x, x.flip(0), 5), kornia.enhance.equalize(x).mean())
print(kornia.augmentation.RandomHorizontalFlip(p=1.0)(x).mean())
