"""From the cells of one modality to stored vectors: reading, fitting, computing, writing."""
