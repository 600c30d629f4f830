"""The files of the guide that users of sd-scripts follow."""

SETTINGS = """
[general]
enable_bucket = false   # Aspect Ratio Bucketingを使うか否か
flip_aug = false             # 画像反転水増しを利用しない
shuffle_caption = true  # キャプションシャッフル有効
keep_tokens = 1           # キャプション先頭のトリガーワード保護

[[datasets]]
batch_size = 1
resolution = [384, 512]

  [[datasets.subsets]]
  image_dir = '学習画像のフォルダ' # 学習用画像を入れたフォルダを指定
  caption_extension = '.txt'                # キャプションファイルの拡張子
  num_repeats = 40                           # 学習用画像の繰り返し回数
"""
"""The guide's settings.toml, letter by letter."""
