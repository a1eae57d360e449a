//! slot-state
