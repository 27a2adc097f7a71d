"""What outlives a process: weights in files, and trainings that go on bit for bit where they were.

atomic     a file is there completely or not at all
arrays     named arrays in .safetensors and .npz files
weights    the parameters of a model in such a file
tree       numbers, texts, lists and arrays as strict JSON, exactly
store      numbered checkpoints in a directory, each with checksums
running    what decides about the rest of a training, out of it and into it
callback   when it is written
"""
