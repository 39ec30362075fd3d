"""Graph convolutions and batches of graphs with PyTorch Geometric."""

import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GATConv, GCNConv, SAGEConv, global_mean_pool

torch.manual_seed(0)
edges = torch.tensor([[0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]])
graph = Data(x=torch.randn(4, 3), edge_index=edges, y=torch.tensor([1]))
print(graph)
for layer in (GCNConv(3, 5), SAGEConv(3, 5), GATConv(3, 5)):
    out = layer(graph.x, graph.edge_index)
    out.sum().backward()
    print(out.shape, out[0].detach(), [p.grad.norm() for p in layer.parameters()])
for batch in DataLoader([graph, graph, graph], batch_size=2):
    print(batch, global_mean_pool(batch.x, batch.batch))
