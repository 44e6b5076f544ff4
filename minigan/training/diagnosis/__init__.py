"""Looking into a discriminator while it trains: what is measured of it, and what these numbers warn of."""
