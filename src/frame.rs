//! The length prefix: dialects, heads, limits, encoding.
