"""The machine below a run: devices, memory, seeds, files. It knows no photo, network or config."""
