use std::time::Duration;

/// What clients may cost a node.
#[derive(Debug, Clone)]
pub(crate) struct RpcLimits {
    /// Connections at a time; more wait to be accepted.
    pub(crate) connections: usize,
    /// How long a connection is used, at most: it ends after the answer that it then waits for.
    pub(crate) connection_age: Duration,
    /// Time for the head of a request, counted from when one may come.
    pub(crate) head_time: Duration,
    /// Bytes of the head of a request.
    pub(crate) head_bytes: usize,
    /// Time for the body of a request.
    pub(crate) body_time: Duration,
    /// Bytes of the body of a request: twice what a transaction in the pool may have.
    pub(crate) body_bytes: usize,
    /// Time to answer, once the request is there.
    pub(crate) answer_time: Duration,
    /// How long a client may take nothing of its answer before its connection is closed.
    pub(crate) take_time: Duration,
    /// Requests at a time, each until its answer is taken; more are refused.
    pub(crate) requests: usize,
    /// Requests that read the store at a time; more wait.
    pub(crate) readers: usize,
    /// Blocks in an answer.
    pub(crate) blocks: u64,
    /// Bytes of the blocks in an answer, as they are stored; JSON takes two to three times as much. The first is exempt.
    pub(crate) blocks_bytes: usize,
    /// Pooled transactions in an answer.
    pub(crate) pool_txs: usize,
    /// Bytes of the pooled transactions in an answer, as JSON. The first is exempt.
    pub(crate) pool_bytes: usize,
    /// Time for answers that are under way when the node stops; the node's own end must fit into the five seconds too.
    pub(crate) farewell: Duration,
}

impl Default for RpcLimits {
    fn default() -> Self {
        const KIB: usize = 1024;
        Self {
            connections: 128,
            connection_age: Duration::from_secs(60),
            head_time: Duration::from_secs(10),
            head_bytes: 16 * KIB,
            body_time: Duration::from_secs(10),
            body_bytes: 256 * KIB,
            answer_time: Duration::from_secs(10),
            take_time: Duration::from_secs(10),
            requests: 64,
            readers: 8,
            blocks: 100,
            blocks_bytes: 1024 * KIB,
            pool_txs: 1000,
            pool_bytes: 2048 * KIB,
            farewell: Duration::from_secs(1),
        }
    }
}
