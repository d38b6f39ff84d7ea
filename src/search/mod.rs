//! Policy space, distribution, ASNG and the other searchers.
