"""p2vtools: synthetic data, real captures, fitting and measuring, the viewer and the study around `p2vlib`."""
