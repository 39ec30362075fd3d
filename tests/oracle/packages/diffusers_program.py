"""A step of training and four of sampling of a small diffusion model."""

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

torch.manual_seed(0)
model = UNet2DModel(
    sample_size=16, in_channels=1, out_channels=1, layers_per_block=1,
    block_out_channels=(16, 32), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=8,
)
scheduler = DDPMScheduler(num_train_timesteps=50)
images, noise = torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)
times = torch.tensor([3, 20])
found = model(scheduler.add_noise(images, noise, times), times).sample
loss = torch.nn.functional.mse_loss(found, noise)
loss.backward()
print(loss, sum(parameter.grad.abs().sum() for parameter in model.parameters()))
sampler = DDIMScheduler(num_train_timesteps=50)
sampler.set_timesteps(4)
image = torch.randn(1, 1, 16, 16)
with torch.no_grad():
    for time in sampler.timesteps:
        image = sampler.step(model(image, time).sample, time, image).prev_sample
print(image.mean(), image.std())
