//! Which units precede one.

use dense_rnn::Graph;

#[test]
fn predecessors_are_as_many_as_counted_and_all_on_earlier_diagonals() {
    let (h, w) = (4, 5);
    for graph in [Graph::Dag4, Graph::Dag8, Graph::Dense] {
        for unit in 0..h * w {
            let at = (unit / w, unit % w);
            let units: Vec<usize> = graph.predecessors(at, w).flatten().collect();
            assert_eq!(units.len(), graph.count(at), "{graph:?} {at:?}");
            assert!(units.iter().all(|u| u / w + u % w < at.0 + at.1));
            assert!(units.iter().all(|u| u / w <= at.0 && u % w <= at.1));
        }
    }
}

#[test]
fn the_dense_graph_has_the_stated_number_of_pairs() {
    let (h, w) = (3, 7);
    let pairs: usize = (0..h * w).map(|u| Graph::Dense.count((u / w, u % w))).sum();
    assert_eq!(pairs, h * (h + 1) / 2 * w * (w + 1) / 2 - h * w);
}
