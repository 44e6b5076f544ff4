"""The names in checkpoints of mimicry (PyTorch): SNGAN, cGAN-PD and WGAN-GP, .pth files in either of its formats.

    l1.weight, l1.bias          dense, rows channel by channel
    block2.c1.weight, .bias     convolutions (out, in, kh, kw); c2, c_sc alike
    block2.b1.weight, bias, running_mean, running_var; with classes bn.running_mean, bn.running_var and
        embed.weight (classes, 2 * channels): multipliers, then shifts
    block1.c1.sn_u              (1, out), of a discriminator; in later versions weight_orig and weight_u (out,) instead
    l_y.weight                  the labels' embedding

Its generators upsample bilinearly, its batch normalization has eps 1e-5, its SNGAN for 32 pixels has a bias at the
discriminator's end, its WGAN-GP takes means over the pixels there. It divides by max(|x|, eps) in the power iteration
and not by |x| + eps: with eps 1e-12 the same float32 for every norm above 1e-4. Where it keeps weight_u and weight_v,
sigma in evaluation is u^T W v, without the power iteration that is made here: the same once they have converged.
"""

from minigan.exchange.foreign import Tool

TOOL = Tool(
    "mimicry", ".",
    weights=({"W": "weight", "b": "bias", "u": "sn_u"}, {"W": "weight_orig", "b": "bias", "u": "weight_u"}),
    batch_norm={"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var"},
    conditional={"gamma": ("embed.weight", 0), "beta": ("embed.weight", 1), "mean": "bn.running_mean",
                 "variance": "bn.running_var"},
    beside=("num_batches_tracked", "sn_sigma", "weight_v"),
    choices={"upsample": "bilinear", "bn_eps": 1e-5, "bn_decay": 0.9, "scaling": "255", "dequantize": False,
             "loss": "hinge", "lr": 2e-4, "beta1": 0.0, "beta2": 0.9, "n_dis": 5, "batch_size": 64,
             "gen_batch_size": None, "schedule": "linear", "decay_from": 0.0})

# of a discriminator without spectral normalization: Gulrajani et al. 2017's
WITHOUT_NORM = {"norm": "none", "loss": "wasserstein", "gp": 10.0, "pool": "mean"}
