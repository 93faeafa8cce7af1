"""The benchmark of `p2v evaluate`: photos on a mat, scans and clean meshes of people that no network has seen."""
