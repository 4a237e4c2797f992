"""KO under DistributedDataParallel: every process makes the same collisions."""

import subprocess
import sys

import torch

PROCESS = """
import sys
import torch
from torch import nn
from kitipde.optim import KO

torch.set_num_threads(1)
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
parallel = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
optimizer = KO(torch.optim.Adam(parallel.parameters(), lr=0.01), model, kind="hard", coll_coef=0.95, layers="all")
torch.manual_seed(100 + rank)
for _ in range(4):
    optimizer.zero_grad()
    parallel(torch.randn(6, 4)).square().mean().backward()
    optimizer.step()
assert max(float(rate) for rate in optimizer.collision_rates.values()) > 0
torch.save(model.state_dict(), f"{folder}/{rank}.pt")
torch.distributed.destroy_process_group()
"""


def test_processes_with_different_batches_keep_the_same_weights(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), str(tmp_path)], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error.decode()
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
