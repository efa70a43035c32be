"""The account kernels, one module per backend, and the inputs they share."""
