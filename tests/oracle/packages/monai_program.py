"""A U-Net of MONAI with its losses for segmentation."""

import torch
from monai.losses import DiceCELoss, DiceLoss
from monai.networks.nets import UNet

torch.manual_seed(0)
model = UNet(
    spatial_dims=2, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2),
    num_res_units=1,
)
x, y = torch.randn(2, 1, 16, 16), torch.randint(0, 2, (2, 1, 16, 16))
loss = DiceLoss(to_onehot_y=True, softmax=True)(model(x), y)
loss.backward()
print(loss, DiceCELoss(to_onehot_y=True, softmax=True)(model(x), y))
