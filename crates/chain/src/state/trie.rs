//! A Merkle-Patricia trie in memory that remembers which hashes changed.
//!
//! Ethereum commits to accounts and to each contract's slots with such a trie. Rebuilding one costs
//! the whole state; this one re-encodes only the paths that a block touched. Keys are hashes of 32
//! bytes, so no key is the prefix of another and branches never hold a value.
//!
//! Nodes live in one arena and name each other by index, so that the tree needs no reference counts
//! and is freed at once. A node's encoded reference is cached beside it; an empty one means "changed
//! since last hashed", and a changed node's ancestors are changed too.
//!
//! # Source
//!
//! Ethereum yellow paper, appendix D. Node encoding is `alloy-trie`'s.

use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieAccount, TrieMask,
    nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode},
};

/// What a leaf holds.
pub(crate) trait LeafValue: PartialEq {
    /// Appends the value as the trie stores it.
    fn encode_leaf(&self, out: &mut Vec<u8>);
}

impl LeafValue for U256 {
    fn encode_leaf(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
}

impl LeafValue for TrieAccount {
    fn encode_leaf(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
}

/// The place of a node in the arena.
type Index = u32;

/// No node: the arena begins with a node that is never used.
const NONE: Index = 0;

enum Node<V> {
    /// Not in use; listed in `Trie::free`.
    Free,
    /// The end of a path. Holds the whole key, so it need not change when it moves up or down.
    Leaf { key: B256, value: V, reference: RlpNode },
    /// Two or more children, by the next nibble of their keys.
    Branch { children: [Index; 16], reference: RlpNode },
    /// Nibbles that all keys below share; the child is always a branch.
    Extension { path: Nibbles, child: Index, reference: RlpNode },
}

/// A trie from hashed keys to values.
pub(crate) struct Trie<V> {
    nodes: Vec<Node<V>>,
    free: Vec<Index>,
    root: Index,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { nodes: vec![Node::Free], free: Vec::new(), root: NONE }
    }
}

impl<V: LeafValue> Trie<V> {
    /// Sets the value of `key`.
    pub(crate) fn insert(&mut self, key: B256, value: V) {
        self.root = self.insert_below(self.root, 0, key, value);
    }

    /// Removes `key`; does nothing when it is not there.
    pub(crate) fn remove(&mut self, key: B256) {
        self.root = self.remove_below(self.root, 0, &key);
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &B256) -> Option<&V> {
        let (mut index, mut depth) = (self.root, 0);
        loop {
            match self.node(index) {
                Node::Free => return None,
                Node::Leaf { key: found, value, .. } => return (found == key).then_some(value),
                Node::Branch { children, .. } => {
                    index = children[nibble(key, depth)];
                    depth += 1;
                }
                Node::Extension { path, child, .. } => {
                    if shared_nibbles(path, key, depth) < path.len() {
                        return None;
                    }
                    depth += path.len();
                    index = *child;
                }
            }
        }
    }

    /// The root hash, after re-encoding what changed.
    pub(crate) fn root_hash(&mut self) -> B256 {
        if self.root == NONE {
            return EMPTY_ROOT_HASH;
        }
        let reference = self.refresh(self.root, 0, &mut Buffers::default());
        reference.as_hash().unwrap_or_else(|| keccak256(reference.as_slice()))
    }

    /// The encoded nodes from the root towards `key`: they prove its value, or that it has none.
    ///
    /// Nodes shorter than 32 bytes stand inside their parents and are not listed again.
    ///
    /// # Source
    ///
    /// [EIP-1186](https://eips.ethereum.org/EIPS/eip-1186).
    pub(crate) fn proof(&mut self, key: &B256) -> Vec<Bytes> {
        self.root_hash();
        let (mut index, mut depth) = (self.root, 0);
        let mut proof = Vec::new();
        let mut buffers = Buffers::default();
        while index != NONE {
            self.encode(index, depth, &mut buffers);
            if depth == 0 || buffers.node.len() >= 32 {
                proof.push(Bytes::copy_from_slice(&buffers.node));
            }
            match self.node(index) {
                Node::Branch { children, .. } => {
                    index = children[nibble(key, depth)];
                    depth += 1;
                }
                Node::Extension { path, child, .. }
                    if shared_nibbles(path, key, depth) == path.len() =>
                {
                    depth += path.len();
                    index = *child;
                }
                _ => break,
            }
        }
        proof
    }

    fn insert_below(&mut self, index: Index, depth: usize, key: B256, value: V) -> Index {
        match self.node_mut(index) {
            Node::Free => self.add(Node::Leaf { key, value, reference: changed() }),
            Node::Leaf { key: found, value: held, reference } => {
                if *found == key {
                    if *held != value {
                        *held = value;
                        *reference = changed();
                    }
                    return index;
                }
                let found = *found;
                *reference = changed();
                let fork = (depth..).find(|at| nibble(&found, *at) != nibble(&key, *at));
                let fork = fork.expect("two different keys differ in some nibble");
                let leaf = self.add(Node::Leaf { key, value, reference: changed() });
                let mut children = [NONE; 16];
                children[nibble(&found, fork)] = index;
                children[nibble(&key, fork)] = leaf;
                let branch = self.add(Node::Branch { children, reference: changed() });
                self.extend(nibbles(&key, depth, fork), branch)
            }
            Node::Branch { children, reference } => {
                *reference = changed();
                let child = children[nibble(&key, depth)];
                let new = self.insert_below(child, depth + 1, key, value);
                if new != child
                    && let Node::Branch { children, .. } = self.node_mut(index)
                {
                    children[nibble(&key, depth)] = new;
                }
                index
            }
            Node::Extension { path, child, reference } => {
                *reference = changed();
                let (path, child) = (*path, *child);
                let shared = shared_nibbles(&path, &key, depth);
                if shared == path.len() {
                    // The child is a branch, and inserting below a branch leaves it in its place.
                    self.insert_below(child, depth + shared, key, value);
                    return index;
                }
                self.release(index);
                let leaf = self.add(Node::Leaf { key, value, reference: changed() });
                let rest = self.extend(path.slice(shared + 1..), child);
                let mut children = [NONE; 16];
                children[usize::from(path.get_unchecked(shared))] = rest;
                children[nibble(&key, depth + shared)] = leaf;
                let branch = self.add(Node::Branch { children, reference: changed() });
                self.extend(path.slice(..shared), branch)
            }
        }
    }

    fn remove_below(&mut self, index: Index, depth: usize, key: &B256) -> Index {
        match self.node_mut(index) {
            Node::Free => NONE,
            Node::Leaf { key: found, .. } => {
                if found != key {
                    return index;
                }
                self.release(index);
                NONE
            }
            Node::Branch { children, .. } => {
                let child = children[nibble(key, depth)];
                if child == NONE {
                    return index;
                }
                let left = self.remove_below(child, depth + 1, key);
                let Node::Branch { children, reference } = self.node_mut(index) else {
                    unreachable!("removing below a branch does not touch the branch");
                };
                children[nibble(key, depth)] = left;
                *reference = changed();
                let mut used = (0..16_u8).filter(|nibble| children[usize::from(*nibble)] != NONE);
                match (used.next(), used.next()) {
                    (Some(only), None) => {
                        let child = children[usize::from(only)];
                        self.release(index);
                        self.lift(Nibbles::from_nibbles([only]), child)
                    }
                    _ => index,
                }
            }
            Node::Extension { path, child, .. } => {
                let (path, child) = (*path, *child);
                if shared_nibbles(&path, key, depth) < path.len() {
                    return index;
                }
                let left = self.remove_below(child, depth + path.len(), key);
                self.release(index);
                self.lift(path, left)
            }
        }
    }

    /// An extension over `path` to the branch `child`, or the branch itself when there is no path.
    fn extend(&mut self, path: Nibbles, child: Index) -> Index {
        if path.is_empty() {
            return child;
        }
        self.add(Node::Extension { path, child, reference: changed() })
    }

    /// Puts `path` above a node whose parent went away.
    fn lift(&mut self, above: Nibbles, index: Index) -> Index {
        match self.node_mut(index) {
            Node::Free => NONE,
            Node::Leaf { reference, .. } => {
                *reference = changed();
                index
            }
            Node::Branch { .. } => self.extend(above, index),
            Node::Extension { path, reference, .. } => {
                *path = above.join(path);
                *reference = changed();
                index
            }
        }
    }

    /// The reference by which a parent names the node, encoding it if it changed.
    fn refresh(&mut self, index: Index, depth: usize, buffers: &mut Buffers) -> RlpNode {
        match self.node(index) {
            Node::Free => return RlpNode::default(),
            Node::Leaf { reference, .. }
            | Node::Branch { reference, .. }
            | Node::Extension { reference, .. } => {
                if !reference.is_empty() {
                    return reference.clone();
                }
            }
        }
        match *self.node(index) {
            Node::Branch { children, .. } => {
                for child in children.into_iter().filter(|child| *child != NONE) {
                    self.refresh(child, depth + 1, buffers);
                }
            }
            Node::Extension { path, child, .. } => {
                self.refresh(child, depth + path.len(), buffers);
            }
            Node::Free | Node::Leaf { .. } => {}
        }
        self.encode(index, depth, buffers);
        let new = RlpNode::from_rlp(&buffers.node);
        match self.node_mut(index) {
            Node::Free => {}
            Node::Leaf { reference, .. }
            | Node::Branch { reference, .. }
            | Node::Extension { reference, .. } => *reference = new.clone(),
        }
        new
    }

    /// Encodes one node into `buffers.node`; its children's references must be fresh.
    fn encode(&self, index: Index, depth: usize, buffers: &mut Buffers) {
        buffers.node.clear();
        match self.node(index) {
            Node::Free => {}
            Node::Leaf { key, value, .. } => {
                buffers.value.clear();
                value.encode_leaf(&mut buffers.value);
                let path = Nibbles::unpack(key).slice(depth..);
                LeafNodeRef::new(&path, &buffers.value).encode(&mut buffers.node);
            }
            Node::Branch { children, .. } => {
                buffers.children.clear();
                let mut mask = 0;
                for (nibble, child) in children.iter().enumerate() {
                    if *child != NONE {
                        mask |= 1 << nibble;
                        buffers.children.push(self.reference(*child).clone());
                    }
                }
                BranchNodeRef::new(&buffers.children, TrieMask::new(mask))
                    .encode(&mut buffers.node);
            }
            Node::Extension { path, child, .. } => {
                ExtensionNodeRef::new(path, self.reference(*child)).encode(&mut buffers.node);
            }
        }
    }

    fn reference(&self, index: Index) -> &RlpNode {
        match self.node(index) {
            Node::Leaf { reference, .. }
            | Node::Branch { reference, .. }
            | Node::Extension { reference, .. } => reference,
            Node::Free => unreachable!("a free node has no parent"),
        }
    }

    fn node(&self, index: Index) -> &Node<V> {
        &self.nodes[index as usize]
    }

    fn node_mut(&mut self, index: Index) -> &mut Node<V> {
        &mut self.nodes[index as usize]
    }

    fn add(&mut self, node: Node<V>) -> Index {
        if let Some(index) = self.free.pop() {
            self.nodes[index as usize] = node;
            return index;
        }
        let index = Index::try_from(self.nodes.len()).expect("four billion nodes exceed memory");
        self.nodes.push(node);
        index
    }

    fn release(&mut self, index: Index) {
        self.nodes[index as usize] = Node::Free;
        self.free.push(index);
    }
}

/// Memory that encoding reuses from node to node.
#[derive(Default)]
struct Buffers {
    node: Vec<u8>,
    value: Vec<u8>,
    children: Vec<RlpNode>,
}

/// The reference of a node that changed since it was last encoded.
fn changed() -> RlpNode {
    RlpNode::default()
}

/// Nibble `at` of a key, the high half of byte 0 first.
fn nibble(key: &B256, at: usize) -> usize {
    let byte = key[at / 2];
    usize::from(if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
}

fn nibbles(key: &B256, from: usize, to: usize) -> Nibbles {
    Nibbles::unpack(key).slice(from..to)
}

/// How many nibbles of `path` agree with `key` from `depth` on.
fn shared_nibbles(path: &Nibbles, key: &B256, depth: usize) -> usize {
    (0..path.len())
        .take_while(|at| usize::from(path.get_unchecked(*at)) == nibble(key, depth + at))
        .count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_trie::{HashBuilder, proof::verify_proof};
    use proptest::prelude::*;

    use super::*;

    /// The root that `alloy-trie` builds from scratch.
    fn reference_root(entries: &BTreeMap<B256, U256>) -> B256 {
        let mut builder = HashBuilder::default();
        for (key, value) in entries {
            builder.add_leaf(Nibbles::unpack(key), &alloy_rlp::encode(value));
        }
        builder.root()
    }

    /// Keys that share long prefixes, so that extensions and collapses are frequent.
    fn close_key() -> impl Strategy<Value = B256> {
        (prop::collection::vec(0..3_u8, 4), any::<u8>()).prop_map(|(head, tail)| {
            let mut key = B256::ZERO;
            key[..4].copy_from_slice(&head);
            key[31] = tail & 3;
            key
        })
    }

    proptest! {
        #[test]
        fn roots_equal_a_rebuild_after_any_history(
            steps in prop::collection::vec((close_key(), prop::option::of(1..5_u64)), 1..200),
        ) {
            let mut trie = Trie::default();
            let mut entries = BTreeMap::new();
            for (step, (key, value)) in steps.into_iter().enumerate() {
                match value.map(U256::from) {
                    Some(value) => {
                        trie.insert(key, value);
                        entries.insert(key, value);
                    }
                    None => {
                        trie.remove(key);
                        entries.remove(&key);
                    }
                }
                prop_assert_eq!(trie.get(&key), entries.get(&key));
                if step % 7 == 0 {
                    prop_assert_eq!(trie.root_hash(), reference_root(&entries));
                }
            }
            prop_assert_eq!(trie.root_hash(), reference_root(&entries));
        }

        #[test]
        fn proofs_verify_for_present_and_absent_keys(
            keys in prop::collection::btree_set(close_key(), 1..60),
            asked in close_key(),
        ) {
            let mut trie = Trie::default();
            for key in &keys {
                trie.insert(*key, U256::from(7));
            }
            let root = trie.root_hash();
            let proof = trie.proof(&asked);
            let expected = keys.contains(&asked).then(|| alloy_rlp::encode(U256::from(7)));
            let verified = verify_proof(root, Nibbles::unpack(asked), expected, &proof);
            prop_assert!(verified.is_ok(), "{verified:?}");
        }
    }

    #[test]
    fn empty_trie_has_the_empty_root_and_proof() {
        let mut trie = Trie::<U256>::default();
        assert_eq!(trie.root_hash(), EMPTY_ROOT_HASH);
        assert!(trie.proof(&B256::ZERO).is_empty());
        trie.insert(B256::ZERO, U256::ONE);
        trie.remove(B256::ZERO);
        assert_eq!(trie.root_hash(), EMPTY_ROOT_HASH);
    }
}
