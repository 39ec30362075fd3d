"""Programs that go through a graph, or write down something at its nodes."""
