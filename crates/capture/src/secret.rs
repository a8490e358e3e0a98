//! Columns that never leave the database: the rule that all makers of events share.

pub(crate) use tidegate_event::secret::is_secret;
