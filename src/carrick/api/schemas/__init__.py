"""What goes over the wire: inputs and answers by their wire names, here and nowhere else."""
