"""Models, transforms and drawing of torchvision (its operators: tests/test_vision_operators.py)."""

import sys

import torch

try:
    pass
except RuntimeError:  # its library was built for another PyTorch: the names alone will do here
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision import datasets, models, ops, tv_tensors, utils
from torchvision import transforms as T
from torchvision.models import feature_extraction
from torchvision.transforms import v2


def show(name, tensor):
    tensor = tensor.double()
    print(name, tuple(tensor.shape), f"{tensor.mean().item():.3f} {tensor.std().item():.3f}")


x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
for name in ("resnet18", "mobilenet_v3_small", "densenet121", "efficientnet_b0", "swin_t"):
    torch.manual_seed(0)
    with torch.no_grad():
        show(name, models.get_model(name, weights=None, num_classes=10).eval()(x))
torch.manual_seed(0)
show("vit", models.vit_b_16(image_size=64, num_classes=10).eval()(x))
model = models.resnet18(num_classes=4).double()
optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
images = torch.rand(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
for _ in range(3):
    loss = torch.nn.functional.cross_entropy(model(images), torch.arange(4))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"{loss.item():.6f}")
nodes = {"layer1": "a", "layer3.0.relu": "b"}
features = feature_extraction.create_feature_extractor(model.eval(), nodes)(images)
print({name: tuple(feature.shape) for name, feature in features.items()})
print(feature_extraction.get_graph_node_names(model)[1][:12])

torch.manual_seed(3)
picture = (torch.rand(3, 40, 50) * 255).to(torch.uint8)
for transform in (
    T.Resize(20), T.RandomCrop(20, padding=4), T.RandomRotation(30), T.ColorJitter(0.2, 0.3, 0.4),
    T.RandomAffine(10, (0.1, 0.1), (0.8, 1.2), 5), T.GaussianBlur(3), T.RandomErasing(1.0),
    T.RandomPerspective(p=1.0), T.RandomEqualize(1.0), T.AutoAugment(), T.RandAugment(),
):
    show(type(transform).__name__, transform(picture))
normalized = T.Compose([T.ToPILImage(), T.Resize(20), T.ToTensor(), T.Normalize(0.5, 0.2)])
show("normalized", normalized(picture))
boxes = tv_tensors.BoundingBoxes([[2, 3, 20, 30], [5, 5, 10, 12]], format="XYXY",
                                 canvas_size=(40, 50))
flipped, target = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.ToDtype(torch.float32, scale=True)])(
    tv_tensors.Image(picture), {"boxes": boxes, "labels": torch.tensor([1, 2])})
show(type(flipped).__name__, flipped)
print(target["boxes"], target["labels"])
batch, labels = next(iter(torch.utils.data.DataLoader(
    datasets.FakeData(8, (3, 16, 16), 4, T.ToTensor()), 4, shuffle=True)))
show("batch", batch)
show("grid", utils.make_grid(batch, nrow=2, normalize=True))
show("drawn", utils.draw_bounding_boxes(picture, boxes, colors="red"))
print(labels, ops.generalized_box_iou(boxes.float(), boxes.float()), ops.FrozenBatchNorm2d(3))
