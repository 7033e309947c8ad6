"""Neural networks that are fast on a CPU: perceptrons with sparse inputs, convolutional and recurrent networks."""
