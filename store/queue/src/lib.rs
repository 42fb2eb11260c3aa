//! Outbound schedule, retries and bounces; time is an argument
