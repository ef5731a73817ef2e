"""Self-supervised video features: a masked autoencoder of tubelets (Tong et al. 2022)."""
