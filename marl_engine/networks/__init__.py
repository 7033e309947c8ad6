"""Neural networks that are fast on a CPU: multi-layer perceptrons with sparse inputs."""
