//! Plain CPU twins of the ops.
