"""The names in snapshots of sngan_projection, the authors' code (Chainer), flat .npz files.

    l1/W, l1/b                  dense, rows channel by channel
    block2/c1/W, .../b          convolutions (out, in, kh, kw); c2, c_sc alike
    block2/b1/gamma, beta, avg_mean, avg_var, N; with classes gammas/W, betas/W (classes, channels)
    block1/c1/u                 (1, out), of a discriminator; gamma where it was built with use_gamma
    l_y/W, l_y/u                the labels' embedding

A trainer's own snapshot has the same behind updater/model:NAME/. W is stored as it is, not divided by sigma; sigma is
found by one power iteration from u in each forward, in evaluation, too. Dense layers' u moves there, too; here never.
"""

from minigan.exchange.foreign import Tool

TOOL = Tool(
    "sngan_projection", "/",
    weights=({"W": "W", "b": "b", "u": "u", "gamma": "gamma"},),
    batch_norm={"gamma": "gamma", "beta": "beta", "mean": "avg_mean", "variance": "avg_var"},
    conditional={"gamma": "gammas/W", "beta": "betas/W", "mean": "avg_mean", "variance": "avg_var"},
    beside=("N",),
    choices={"profile": "sngan-projection"})
