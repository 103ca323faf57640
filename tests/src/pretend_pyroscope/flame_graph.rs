//! The flame graph that queries are answered with: `pkg/model/flamegraph.go` of grafana/pyroscope. Graphs of more
//! than 8 192 nodes, which the server cuts, stay whole here.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct FlameGraph {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    levels: Vec<Level>,
    #[prost(int64, tag = "3")]
    total: i64,
    #[prost(int64, tag = "4")]
    max_self: i64,
}

/// Groups of four: how far from the left neighbour's end, total, self, index of the name.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Level {
    #[prost(int64, repeated, tag = "1")]
    values: Vec<i64>,
}

#[derive(Default)]
struct Node {
    total: i64,
    own: i64,
    children: BTreeMap<String, Self>,
}

impl FlameGraph {
    /// The graph of stacks (leaf first) and values.
    pub(super) fn of<'store>(stacks: impl Iterator<Item = (&'store [String], i64)>) -> Self {
        let mut root = Node::default();
        for (stack, value) in stacks {
            root.total += value;
            let mut node = &mut root;
            for name in stack.iter().rev() {
                node = node.children.entry(name.clone()).or_default();
                node.total += value;
            }
            node.own += value;
        }
        Self::draw(&root)
    }

    fn draw(root: &Node) -> Self {
        let mut graph = Self {
            total: root.total,
            ..Self::default()
        };
        let mut indices = HashMap::new();
        // Boxes of each level, from the right to the left: the last child is drawn first, which gives names
        // their order.
        let mut levels: Vec<Vec<[i64; 4]>> = Vec::new();
        let mut waiting = vec![(0, 0, "total", root)];
        while let Some((level, start, name, node)) = waiting.pop() {
            let names = &mut graph.names;
            let index = *indices.entry(name).or_insert_with(|| {
                names.push(name.to_owned());
                i64::try_from(names.len() - 1).unwrap_or(0)
            });
            graph.max_self = graph.max_self.max(node.own);
            if levels.len() == level {
                levels.push(Vec::new());
            }
            if let Some(boxes) = levels.get_mut(level) {
                boxes.push([start, node.total, node.own, index]);
            }
            // What is the parent's own is left of its children.
            let mut start = start + node.own;
            for (name, child) in &node.children {
                waiting.push((level + 1, start, name.as_str(), child));
                start += child.total;
            }
        }
        graph.levels = levels.into_iter().map(Level::of).collect();
        graph
    }

    /// As proto3's JSON has it: what is zero is left out, and numbers are text.
    pub(super) fn json(&self) -> Value {
        let levels = self.levels.iter();
        let levels: Vec<_> = levels
            .map(|it| json!({"values": it.values.iter().map(i64::to_string).collect::<Vec<_>>()}))
            .collect();
        let mut graph = Map::new();
        graph.insert("names".to_owned(), json!(self.names));
        graph.insert("levels".to_owned(), json!(levels));
        for (name, number) in [("total", self.total), ("maxSelf", self.max_self)] {
            if number != 0 {
                graph.insert(name.to_owned(), json!(number.to_string()));
            }
        }
        Value::Object(graph)
    }
}

impl Level {
    fn of(mut boxes: Vec<[i64; 4]>) -> Self {
        boxes.reverse();
        let mut end = 0;
        let values = boxes.into_iter().flat_map(|[start, total, own, name]| {
            let gap = start - end;
            end = start + total;
            [gap, total, own, name]
        });
        Self {
            values: values.collect(),
        }
    }
}
