//! From TOML to a graph.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fields::{Fields, line_of};
use super::{DescribeError, OPERATIONS, USUAL_EPSILON};
use crate::network::{Graph, GraphBuilder, GraphError, NodeId, Op, Shape};
use crate::suggest;

/// Builds the network that a text describes.
///
/// # Errors
/// [`DescribeError`] with the line, the layer and what was expected: what is no TOML, unknown and missing fields, layers that
/// do not fit what they read, a network without logits or with more than one output.
pub fn from_toml(text: &str) -> Result<Graph, DescribeError> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        DescribeError { line, layer: None, reason: error.message().to_owned() }
    })?;
    let mut head = Fields::new(text, document.get_ref(), 1, "a network");
    let name = head.string("name")?;
    let name = head.need("name", name)?;
    let input = head.numbers::<3>("input")?;
    let [channels, height, width] = head.need("input", input)?;
    let layers = head.take("layer");
    head.end()?;
    let layers = head.need("layer", layers)?;
    let Some(layers) = layers.get_ref().as_array() else {
        return Err(head.refuse_value(layers, "each layer is a table that starts with [[layer]]"));
    };
    if channels * height * width == 0 {
        return Err(head.refuse("input must have at least one channel, row and column"));
    }
    let (builder, id) = GraphBuilder::new(name, Shape { channels, height, width });
    let mut reader =
        Reader { text, builder, last: id, names: vec!["input".to_owned()], lines: vec![1], counts: BTreeMap::new() };
    for layer in layers {
        reader.layer(layer)?;
    }
    reader.finish()
}

struct Reader<'a> {
    text: &'a str,
    builder: GraphBuilder,
    last: NodeId,
    /// Of each node.
    names: Vec<String>,
    lines: Vec<usize>,
    /// Layers of each operation so far, for names.
    counts: BTreeMap<&'static str, usize>,
}

impl<'a> Reader<'a> {
    fn layer(&mut self, layer: &'a Spanned<DeValue<'a>>) -> Result<(), DescribeError> {
        let line = line_of(self.text, layer.span().start);
        let Some(table) = layer.get_ref().as_table() else {
            let reason = "each layer is a table that starts with [[layer]]".to_owned();
            return Err(DescribeError { line, layer: None, reason });
        };
        let mut fields = Fields::new(self.text, table, line, "a layer");
        let given = fields.string("name")?;
        fields.layer = given.map(str::to_owned);
        let kind = fields.take("op");
        let kind = fields.need("op", kind)?;
        let Some(operation) = OPERATIONS.into_iter().find(|&known| kind.get_ref().as_str() == Some(known)) else {
            let name = kind.get_ref().as_str().unwrap_or("(no string)");
            let (hint, known) = (suggest::hint(name, &OPERATIONS), OPERATIONS.join(", "));
            return Err(fields.refuse_value(kind, format!("there is no operation {name:?}{hint}; known are {known}")));
        };
        fields.what = format!("{operation:?}");
        let name = given.map_or_else(|| self.usual_name(operation), str::to_owned);
        fields.layer = Some(name.clone());
        let from = self.inputs(&mut fields, operation)?;
        let op = self.operation(&mut fields, operation, from[0])?;
        fields.end()?;
        self.last = self.builder.push(&name, op, &from).map_err(|error| match error {
            GraphError::Layer { reason, .. } => fields.refuse(reason),
            GraphError::DuplicateName(_) => fields.refuse("an earlier layer has this name already"),
        })?;
        self.names.push(name);
        self.lines.push(line);
        Ok(())
    }

    /// The operation and its number among those of its kind.
    fn usual_name(&mut self, operation: &'static str) -> String {
        let prefix = match operation {
            "dense" => "fc",
            "batch-norm" => "bn",
            "max-pool" | "avg-pool" | "global-avg-pool" => "pool",
            other => other,
        };
        loop {
            let count = self.counts.entry(prefix).or_default();
            *count += 1;
            let name = format!("{prefix}{count}");
            if !self.names.contains(&name) {
                return name;
            }
        }
    }

    fn inputs(&self, fields: &mut Fields<'a>, operation: &str) -> Result<Vec<NodeId>, DescribeError> {
        let Some(from) = fields.take("from") else {
            return match operation {
                "add" => Err(fields.refuse("a sum needs two layers, as in from = [\"a\", \"b\"]")),
                _ => Ok(vec![self.last]),
            };
        };
        let find = |value: &Spanned<DeValue<'_>>| {
            let Some(name) = value.get_ref().as_str() else {
                return Err(fields.refuse_value(value, "from must be a layer's name, or a list of names"));
            };
            self.names.iter().position(|known| known == name).map(NodeId).ok_or_else(|| {
                let (hint, known) = (suggest::hint(name, &self.names), self.names.join(", "));
                let hint = if self.names.len() > 1 { hint } else { String::new() };
                fields.refuse_value(value, format!("there is no earlier layer {name:?}{hint}; before it come {known}"))
            })
        };
        let found: Vec<NodeId> = match from.get_ref().as_array() {
            Some(list) => list.iter().map(find).collect::<Result<_, _>>()?,
            None => vec![find(from)?],
        };
        match (operation, found.len()) {
            ("add", 2) => Ok(found),
            ("add", _) => Err(fields.refuse_value(from, "a sum needs two layers, as in from = [\"a\", \"b\"]")),
            (_, 1) => Ok(found),
            (_, count) => Err(fields.refuse_value(from, format!("{operation:?} reads one layer, not {count}"))),
        }
    }

    fn operation(&self, fields: &mut Fields<'a>, operation: &str, input: NodeId) -> Result<Op, DescribeError> {
        Ok(match operation {
            "conv" => {
                let channels = fields.number("channels")?;
                let kernel = fields.pair("kernel")?;
                let stride = fields.pair("stride")?.unwrap_or((1, 1));
                let padding = fields.pair("padding")?.unwrap_or((0, 0));
                let groups = fields.number("groups")?;
                let depthwise = fields.flag("depthwise")?.unwrap_or(false);
                let bias = fields.flag("bias")?.unwrap_or(true);
                if depthwise && groups.is_some() {
                    return Err(fields.refuse("depthwise = true says the groups already"));
                }
                // A misspelt field is the better reason than a missing one.
                fields.end()?;
                let inputs = self.builder.shape(input).channels;
                let groups = if depthwise { inputs } else { groups.unwrap_or(1) };
                let (out_channels, kernel) = (fields.need("channels", channels)?, fields.need("kernel", kernel)?);
                Op::Conv2d { out_channels, kernel, stride, padding, groups, bias }
            }
            "dense" => {
                let outputs = fields.number("outputs")?;
                let bias = fields.flag("bias")?.unwrap_or(true);
                fields.end()?;
                Op::Dense { outputs: fields.need("outputs", outputs)?, bias }
            }
            "batch-norm" => Op::BatchNorm { epsilon: fields.real("epsilon")?.unwrap_or(USUAL_EPSILON) },
            "relu" => Op::Relu,
            "max-pool" | "avg-pool" => {
                let (size, stride) = (fields.pair("kernel")?, fields.pair("stride")?);
                fields.end()?;
                let size = fields.need("kernel", size)?;
                let stride = stride.unwrap_or(size);
                if operation == "max-pool" { Op::MaxPool { size, stride } } else { Op::AvgPool { size, stride } }
            }
            "global-avg-pool" => Op::GlobalAvgPool,
            "add" => Op::Add,
            _ => Op::Flatten,
        })
    }

    fn finish(self) -> Result<Graph, DescribeError> {
        let (names, lines) = (self.names, self.lines);
        let at = |place: usize, reason: String| DescribeError {
            line: lines[place],
            layer: (place > 0).then(|| names[place].clone()),
            reason,
        };
        let graph = self.builder.finish().map_err(|error| match error {
            GraphError::Layer { reason, .. } => at(names.len() - 1, reason),
            GraphError::DuplicateName(name) => at(names.len() - 1, format!("two layers are called {name}")),
        })?;
        let unread = (0..graph.nodes.len() - 1).find(|&place| graph.readers(NodeId(place)).next().is_none());
        match unread {
            Some(0) => Err(at(0, "no layer reads the input".to_owned())),
            Some(place) => Err(at(place, "no layer reads it; a network has one output, its last layer".to_owned())),
            None => Ok(graph),
        }
    }
}
