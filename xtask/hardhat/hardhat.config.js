// Hardhat's node with what the ledger's benchmark needs: the contracts' rules (Osaka), the time and chain id that its
// transactions are signed for, and room in a block. It compiles nothing.
//
// SALUS_BENCH_INTERVAL is how many milliseconds lie between two blocks; 0 is a block for each transaction.
const interval = Number(process.env.SALUS_BENCH_INTERVAL ?? 0);

export default {
  networks: {
    node: {
      type: "edr-simulated",
      chainId: 31337,
      hardfork: "osaka",
      accounts: [],
      blockGasLimit: 3_000_000_000,
      initialBaseFeePerGas: 7,
      initialDate: "2027-01-15T08:00:00Z",
      mining: { auto: interval === 0, interval, mempool: { order: "fifo" } },
    },
  },
};
