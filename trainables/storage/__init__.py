"""What lies on a disk or in an object store.

cache      the cache folder, each entry built once; entries: their use and end; scratch: temporary folders
checkpoint weights, optimiser, step, last evaluations: written aside, fsynced, renamed, with a checksum; start here
tensors    its file of numbers, written as they come; soup: the running mean of several trials' weights
files      one way to write a file: aside, fsynced, renamed; locks: one way to wait for a lock
store      folders in an object store, by URI; shelf: a trial's checkpoints in one
"""
