"""The commands: marl-train, marl-plot, marl-ask and marl-export."""
