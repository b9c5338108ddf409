"""Keeps what the user has set for TensorFlow, Keras and matplotlib out of the program.

To be imported before these libraries, since they read variables and files when they are imported
(Keras imports matplotlib, too). Each setting could change results, which record nothing of it, or
end a stage, as a notebook's backend of matplotlib does where it is not installed.
"""

import os

# Of the libraries: kernels, precision, threads, backend, types of data.
PREFIXES = ("TF_", "ONEDNN_", "DNNL_", "XLA_", "NVIDIA_TF32_", "KERAS_", "MPLBACKEND")
# What TensorFlow says, how it allots a GPU's memory, and which machines train together.
HARMLESS = ("TF_CPP_", "TF_GPU_ALLOCATOR", "TF_CONFIG")
for name in [*os.environ]:
    if name.startswith(PREFIXES) and not name.startswith(HARMLESS):
        del os.environ[name]

os.environ |= {
    # Not every processor gets oneDNN by default; without it a step takes about 1.6 times as long.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "KERAS_BACKEND": "tensorflow",
    # A folder that cannot be, so that Keras neither reads a keras.json nor writes one.
    "KERAS_HOME": os.devnull,
    # In place of the one in the user's home.
    "MATPLOTLIBRC": os.devnull,
}
