//! Loads a bundle of cloud code, lists what it registers, runs one handler within limits in a killable process.
