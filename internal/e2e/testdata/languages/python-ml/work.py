"""A small network that learns the sine of numbers, is saved, and is loaded again."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(1)
x = torch.linspace(-3, 3, 2000).unsqueeze(1)
y = torch.sin(x)
batches = DataLoader(TensorDataset(x, y), batch_size=100, shuffle=True, num_workers=2, persistent_workers=True)


def network():
    return nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))


model = network()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(1, 11):
    total = 0.0
    for a, b in batches:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(a), b)
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch}: {total / len(batches):.5f}")

torch.save(model.state_dict(), "model.pt")
again = network()
again.load_state_dict(torch.load("model.pt"))
with torch.no_grad():
    print("the same", torch.equal(model(x), again(x)))
    print("learnt", nn.functional.mse_loss(again(x), y).item() < 0.01)
print("threads", torch.get_num_threads())
