//! Merkle trees whose proofs OpenZeppelin's `MerkleProof.verify` accepts.
//!
//! Pairs are sorted before they are hashed, so a proof is a list of siblings without sides. A leaf is
//! hashed twice, so that no inner node can pass for a leaf. A node without a sibling moves up as it is.
//!
//! # Source
//!
//! OpenZeppelin Contracts 5.x, `utils/cryptography/MerkleProof.sol`, and its advice on second
//! preimages.

use alloy_primitives::{B256, keccak256};

/// The leaf that stands for `content`: its hash.
#[must_use]
pub fn leaf(content: B256) -> B256 {
    keccak256(content)
}

/// A tree over leaves in the order given.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The leaves first, the root alone in the last.
    levels: Vec<Vec<B256>>,
}

impl Tree {
    /// Builds the tree; `None` when there are no leaves.
    #[must_use]
    pub fn new(leaves: Vec<B256>) -> Option<Self> {
        if leaves.is_empty() {
            return None;
        }
        let mut levels = vec![leaves];
        while let Some(level) = levels.last()
            && level.len() > 1
        {
            let next = level.chunks(2).map(|pair| match *pair {
                [left, right] => parent(left, right),
                [alone] => alone,
                _ => unreachable!("chunks of two hold one or two"),
            });
            let next = next.collect();
            levels.push(next);
        }
        Some(Self { levels })
    }

    /// The root, which is what goes on chain.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.levels[self.levels.len() - 1][0]
    }

    /// The leaves, in their order.
    #[must_use]
    pub fn leaves(&self) -> &[B256] {
        &self.levels[0]
    }

    /// The siblings from leaf `index` up to the root; `None` when there is no such leaf.
    #[must_use]
    pub fn proof(&self, index: usize) -> Option<Vec<B256>> {
        self.levels[0].get(index)?;
        let below_root = &self.levels[..self.levels.len() - 1];
        let mut position = index;
        let mut proof = Vec::new();
        for level in below_root {
            proof.extend(level.get(position ^ 1));
            position /= 2;
        }
        Some(proof)
    }
}

/// Whether `proof` leads from `leaf` to `root`.
#[must_use]
pub fn verify(root: B256, leaf: B256, proof: &[B256]) -> bool {
    proof.iter().fold(leaf, |node, sibling| parent(node, *sibling)) == root
}

fn parent(one: B256, other: B256) -> B256 {
    let (low, high) = if one < other { (one, other) } else { (other, one) };
    let mut both = [0; 64];
    both[..32].copy_from_slice(low.as_slice());
    both[32..].copy_from_slice(high.as_slice());
    keccak256(both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: u64) -> Vec<B256> {
        (0..count).map(|n| leaf(B256::left_padding_from(&n.to_be_bytes()))).collect()
    }

    #[test]
    fn no_leaves_no_tree() {
        assert!(Tree::new(Vec::new()).is_none());
    }

    #[test]
    fn single_leaf_is_its_own_root() {
        let tree = Tree::new(leaves(1)).unwrap();
        assert_eq!(tree.root(), leaves(1)[0]);
        assert_eq!(tree.proof(0), Some(vec![]));
        assert_eq!(tree.proof(1), None);
    }

    proptest! {
        #[test]
        fn every_leaf_is_provable_and_nothing_else(count in 1..200_u64, pick: prop::sample::Index) {
            let leaves = leaves(count);
            let tree = Tree::new(leaves.clone()).unwrap();
            prop_assert_eq!(tree.leaves(), &*leaves);
            let index = pick.index(leaves.len());
            let proof = tree.proof(index).unwrap();
            prop_assert!(verify(tree.root(), leaves[index], &proof));
            prop_assert!(!verify(tree.root(), leaf(B256::repeat_byte(0xee)), &proof));
            prop_assert!(proof.len() <= 8);
        }
    }
}
