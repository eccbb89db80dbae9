//! One file for each command of the command line. `cli` lists them; `decision` is the part that `approve`, `reject`
//! and `answer` share.

pub mod ack;
pub mod answer;
pub mod apply;
pub mod approve;
pub mod ask;
pub mod break_glass;
pub mod cancel;
pub mod cli;
pub mod completion;
pub mod decision;
pub mod declare;
pub mod freeze;
pub mod lead;
pub mod logs;
pub mod note;
pub mod oncall;
pub mod report;
pub mod resolve;
pub mod run;
pub mod show;
pub mod unfreeze;
pub mod update;
pub mod version;
pub mod who;
pub mod withdraw;
