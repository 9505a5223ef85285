//! The dataset's labels.

/// A label, at its labelId in [`LABELS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its category, one of [`CATEGORIES`], or `void`.
    pub category: &'static str,
    /// Its index among the classes that are evaluated; `None` if it is ignored.
    pub train_id: Option<u8>,
    /// Mean pixels of an instance; `None` if it has no instances.
    pub instance_px: Option<f64>,
}

/// The categories that are evaluated, in the dataset's order.
pub const CATEGORIES: [&str; 7] =
    ["flat", "construction", "object", "nature", "sky", "human", "vehicle"];

/// The labels by labelId: `helpers/labels.py`, and `args.avgClassSize` of the evaluation script.
///
/// The licence plate, labelId -1, is not among them: it is ignored.
pub const LABELS: [Label; 34] = [
    ignored("unlabeled", "void"),
    ignored("ego vehicle", "void"),
    ignored("rectification border", "void"),
    ignored("out of roi", "void"),
    ignored("static", "void"),
    ignored("dynamic", "void"),
    ignored("ground", "void"),
    class(0, "road", "flat"),
    class(1, "sidewalk", "flat"),
    ignored("parking", "flat"),
    ignored("rail track", "flat"),
    class(2, "building", "construction"),
    class(3, "wall", "construction"),
    class(4, "fence", "construction"),
    ignored("guard rail", "construction"),
    ignored("bridge", "construction"),
    ignored("tunnel", "construction"),
    class(5, "pole", "object"),
    ignored("polegroup", "object"),
    class(6, "traffic light", "object"),
    class(7, "traffic sign", "object"),
    class(8, "vegetation", "nature"),
    class(9, "terrain", "nature"),
    class(10, "sky", "sky"),
    class(11, "person", "human").of_px(3462.4756337644),
    class(12, "rider", "human").of_px(3930.4788056518),
    class(13, "car", "vehicle").of_px(12794.0202738185),
    class(14, "truck", "vehicle").of_px(27855.1264367816),
    class(15, "bus", "vehicle").of_px(35732.1511111111),
    ignored("caravan", "vehicle").of_px(36771.8241758242),
    ignored("trailer", "vehicle").of_px(16926.9763313609),
    class(16, "train", "vehicle").of_px(67583.7075812274),
    class(17, "motorcycle", "vehicle").of_px(6298.7200839748),
    class(18, "bicycle", "vehicle").of_px(4672.3249222261),
];

const fn class(train_id: u8, name: &'static str, category: &'static str) -> Label {
    Label { name, category, train_id: Some(train_id), instance_px: None }
}

const fn ignored(name: &'static str, category: &'static str) -> Label {
    Label { name, category, train_id: None, instance_px: None }
}

impl Label {
    const fn of_px(self, instance_px: f64) -> Self {
        Self { instance_px: Some(instance_px), ..self }
    }
}
