//! Engines that judge a mail: YARA-X, Bayes, GTUBE, structure
