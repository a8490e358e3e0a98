//! System tests: the server driven as users drive it, and the tidy test.
