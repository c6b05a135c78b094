from tests.world import World
def test_a(world: World) -> None:
    w = world.start_worker()
    print(w.metrics("weir_lag_messages"), world.query("SHOW TABLES"))
    w.kill()
    w2 = world.start_worker()
