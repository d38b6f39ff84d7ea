//! Network plan, U-Net, loss, optimizer as lists of ops.
