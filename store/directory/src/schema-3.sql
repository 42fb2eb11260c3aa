-- What version 3 added to version 2: from how many points on a message is one account's, or one domain's, spam. NULL: what holds for all.

ALTER TABLE domains  ADD COLUMN junk_score   REAL;
ALTER TABLE domains  ADD COLUMN reject_score REAL;
ALTER TABLE accounts ADD COLUMN junk_score   REAL;
ALTER TABLE accounts ADD COLUMN reject_score REAL;
