//! NIfTI files, dataset layouts, preprocessing, sampling. No GPU.
