use clap::ValueEnum;
use cpc_framework::transport::LinkName;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The transports that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransportName {
    /// TCP, as the reference.
    Tcp,
    /// QUIC: encrypted, and each node proves its key.
    Quic,
}

impl TransportName {
    /// What it is called in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }

    /// The transport of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Tcp, Self::Quic].into_iter().find(|transport| transport.name() == name)
    }

    /// The codec that goes with it where nobody says otherwise: that of the reference over TCP, the lean one elsewhere.
    pub fn usual_codec(self) -> CodecName {
        match self {
            Self::Tcp => CodecName::Json,
            Self::Quic => CodecName::Postcard,
        }
    }
}

/// The codecs that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CodecName {
    /// Newline-delimited JSON, as the reference.
    Json,
    /// Binary frames of about a third of the size.
    Postcard,
    /// Whichever of the two a peer begins with; dials are in JSON. Over tcp only.
    Auto,
}

impl CodecName {
    /// What it is called in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Postcard => "postcard",
            Self::Auto => LinkName::AUTO,
        }
    }

    /// The codec of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Json, Self::Postcard, Self::Auto].into_iter().find(|codec| codec.name() == name)
    }
}

/// The stores that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreName {
    /// In the datadir.
    File,
    /// In memory.
    Memory,
}
