"""How a run trains: step, loop, resuming, recording, speed. `run/` is what it leaves on disk."""
