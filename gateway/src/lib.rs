//! The gateway: one room per stage, in the order in which a call goes through them. ARCHITECTURE.md has the table.

pub mod config;

pub mod cli {
    //! What a person types.

    pub mod config;
}
