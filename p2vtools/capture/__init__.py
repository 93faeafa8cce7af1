"""Real captures: photos on a printed mat, exports of phone apps, and scans, stored as capture folders."""
