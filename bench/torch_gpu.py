"""SN-GAN's updates in PyTorch on a GPU, as its users would have them fast: eager, or as one CUDA graph each.

Channels last, its fused Adam, cuDNN's choice by timing, its own spectral_norm, no gradients of the discriminator's
weights in the generator's update.
"""

import torch
from torch.nn import functional as F
from torch_networks import NETWORKS

SIZE, LR, BETAS = 32, 2e-4, (0.0, 0.9)


def steps(model, batch, width=1.0, graph=False, bf16=False):
    """Name -> function that enqueues one update. TF32 as torch.backends has it when this is called."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    gen, dis = (network(SIZE, width=width).to("cuda", memory_format=torch.channels_last) for network in NETWORKS[model])
    opt_gen, opt_dis = (torch.optim.Adam(network.parameters(), LR, BETAS, capturable=graph, fused=True)
                        for network in (gen, dis))
    images = torch.randint(0, 256, (2 * batch, 3, SIZE, SIZE), dtype=torch.uint8, device="cuda")

    def precision():
        return torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16, cache_enabled=not graph)

    def discriminator():
        index = torch.randint(len(images), (batch,), device="cuda")
        x = (images[index].float() / 127.5 - 1).to(memory_format=torch.channels_last)
        with precision():
            with torch.no_grad():
                fake = gen(torch.randn(batch, 128, device="cuda"))
            loss = F.relu(1 - dis(x)).mean() + F.relu(1 + dis(fake)).mean()
        opt_dis.zero_grad(set_to_none=True)
        loss.backward()
        opt_dis.step()

    def generator():
        with precision():
            loss = -dis(gen(torch.randn(batch, 128, device="cuda"))).mean()
        parameters = list(gen.parameters())
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            p.grad = g
        opt_gen.step()

    updates = {"discriminator": discriminator, "generator": generator}
    return {name: recorded(update) for name, update in updates.items()} if graph else updates


def recorded(update):
    """The update as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(4):
            update()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    return lambda kept=update: graph.replay()  # with the networks, whose memory the graph uses
