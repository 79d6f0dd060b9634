ALTER TABLE runs COMMENT COLUMN IF EXISTS `state` 'open, paused, finished (complete on the log), aborted, stored (records and figures complete in the tables)';
